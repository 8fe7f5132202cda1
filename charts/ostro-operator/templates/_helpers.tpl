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

{{- /* What the operator does to objects. The leases are in rbac.yaml: they are in its own namespace only. */ -}}
{{- define "ostro.rules" -}}
- apiGroups: [inference.ostro.dev]
  resources: [inferencedeployments]
  verbs: [get, list, watch]
- apiGroups: [inference.ostro.dev]
  resources: [inferencedeployments/status]
  verbs: [patch]
# Children's owner references block the deletion of their owner.
- apiGroups: [inference.ostro.dev]
  resources: [inferencedeployments/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
