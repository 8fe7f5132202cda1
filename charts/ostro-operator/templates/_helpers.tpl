{{- define "ostro.labels" -}}
app.kubernetes.io/name: ostro-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ostro.selector" -}}
app.kubernetes.io/name: ostro-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Of a Service too, which has a letter first and no dots. */ -}}
{{- define "ostro.name" -}}
{{- $release := regexReplaceAll "^[0-9]" (.Release.Name | replace "." "-") "r${0}" -}}
{{- if contains "ostro-operator" $release }}{{ $release | trunc 63 }}{{ else }}{{ printf "%s-ostro-operator" $release | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Of the root and an image's values. */ -}}
{{- define "ostro.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest | quote }}{{ else }}{{ printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) | quote }}{{ end }}
{{- end }}
