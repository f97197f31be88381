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
{{ include "muxel.commonLabels" . }}
{{- end }}

{{- define "muxel.commonLabels" -}}
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

{{- /* What the gateway mounts: with a controller, what that compiles. */}}
{{- define "muxel.mounted" -}}
{{- if and .Values.controller.enabled (not .Values.existingPolicies) }}
{{- printf "%s-compiled" (include "muxel.fullname" .) }}
{{- else }}
{{- include "muxel.policies" . }}
{{- end }}
{{- end }}

{{- define "muxel.policies" -}}
{{- default (printf "%s-policies" (include "muxel.fullname" . | trunc 54 | trimSuffix "-")) .Values.existingPolicies }}
{{- end }}

{{- define "muxel.watched" -}}
{{- prepend .Values.watch.configMaps (include "muxel.mounted" .) | uniq | join "," }}
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

{{- define "muxel.controller.name" -}}
{{- printf "%s-controller" (include "muxel.fullname" . | trunc 52 | trimSuffix "-") }}
{{- end }}

{{- define "muxel.controller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "muxel.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "muxel.controller.labels" -}}
{{ include "muxel.controller.selectorLabels" . }}
{{ include "muxel.commonLabels" . }}
{{- end }}

{{- define "muxel.controller.metadata" -}}
name: {{ include "muxel.controller.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "muxel.controller.labels" . | nindent 2 }}
{{- end }}

{{- define "muxel.controller.serviceAccountName" -}}
{{- if .Values.controller.serviceAccount.create }}
{{- default (include "muxel.controller.name" .) .Values.controller.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.controller.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The release's own namespace and those given, once each, by commas. */}}
{{- define "muxel.controller.namespaces" -}}
{{- concat (list .Release.Namespace) .Values.controller.namespaces | uniq | sortAlpha | join "," }}
{{- end }}

{{- define "muxel.webhook.secret" -}}
{{- default (printf "%s-webhook" (include "muxel.controller.name" . | trunc 55 | trimSuffix "-")) .Values.webhook.existingSecret }}
{{- end }}

{{- define "muxel.webhook.configuration" -}}
{{- /* Of the cluster, so the namespace is in its name. */}}
{{- printf "%s-%s" (include "muxel.controller.name" .) .Release.Namespace | trimSuffix "-" }}
{{- end }}

{{- define "muxel.webhook.host" -}}
{{- printf "%s.%s.svc" (include "muxel.controller.name" .) .Release.Namespace }}
{{- end }}

{{- /* Whether the controller makes and keeps the webhook's certificate itself. */}}
{{- define "muxel.webhook.kept" -}}
{{- if and .Values.webhook.enabled (not .Values.webhook.certManager.enabled) (not .Values.webhook.existingSecret) }}true{{ end }}
{{- end }}
