{{- define "muxel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "muxel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "muxel.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "muxel.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "muxel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "muxel.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "muxel.labels" -}}
{{ include "muxel.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: muxel
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "muxel.metadata" -}}
name: {{ include "muxel.fullname" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "muxel.labels" . | nindent 2 }}
{{- end }}

{{- define "muxel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "muxel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "muxel.policies" -}}
{{- default (printf "%s-policies" (include "muxel.fullname" . | trunc 54 | trimSuffix "-")) .Values.existingPolicies }}
{{- end }}

{{- define "muxel.watched" -}}
{{- prepend .Values.watch.configMaps (include "muxel.policies" .) | uniq | join "," }}
{{- end }}

{{- define "muxel.image" -}}
{{- with .Values.image }}
{{- with .registry }}{{ . }}/{{ end }}
{{- .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "muxel.severalReplicas" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}
