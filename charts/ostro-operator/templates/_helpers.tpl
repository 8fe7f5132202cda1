{{- define "ostro.labels" -}}
{{ include "ostro.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | include "ostro.label" }}
{{- end }}

{{- /* Without the chart's version: Flux gives each commit one, which would start pods anew. */ -}}
{{- define "ostro.podLabels" -}}
{{ include "ostro.selector" . }}
app.kubernetes.io/version: {{ include "ostro.label" .Chart.AppVersion }}
{{- end }}

{{- define "ostro.selector" -}}
app.kubernetes.io/name: ostro-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* A version's plus is no character of labels. */ -}}
{{- define "ostro.label" -}}
{{ replace "+" "_" . | trunc 63 | trimAll "-_." | quote }}
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
