{{- define "ostro.labels" -}}
app.kubernetes.io/name: ostro-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ostro.selector" -}}
app.kubernetes.io/name: ostro-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ostro.name" -}}
{{- if contains "ostro-operator" .Release.Name }}{{ .Release.Name | trunc 63 }}{{ else }}{{ printf "%s-ostro-operator" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Of the root and an image's values. */ -}}
{{- define "ostro.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest | quote }}{{ else }}{{ printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) | quote }}{{ end }}
{{- end }}
