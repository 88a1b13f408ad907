{{/* The release's name as Kubernetes takes it: an underscore is none of its letters. */}}
{{- define "mcp-agent.name" -}}
{{- include "mcp-agent.agent" . | replace "_" "-" | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* The agent's own name. */}}
{{- define "mcp-agent.agent" -}}
{{- default .Release.Name .Values.agent -}}
{{- end -}}

{{- define "mcp-agent.version" -}}
{{- default .Chart.AppVersion .Values.image.tag -}}
{{- end -}}

{{- define "mcp-agent.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mcp-agent.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mcp-agent.selector" -}}
app.kubernetes.io/name: mcp-agent
app.kubernetes.io/instance: {{ include "mcp-agent.name" . }}
{{- end -}}

{{- define "mcp-agent.labels" -}}
{{ include "mcp-agent.selector" . }}
app.kubernetes.io/version: {{ include "mcp-agent.version" . | quote }}
app.kubernetes.io/part-of: mcp
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The queues whose lag counts, one a line: name in the formula, stream, consumer. */}}
{{- define "mcp-agent.queues" -}}
{{- range $lane := list "critical" "high" "normal" "low" }}
{{ $lane }} {{ $.Values.namespace }}_commands {{ include "mcp-agent.agent" $ }}_{{ $lane }}
{{- end }}
{{- range $workflow := .Values.autoscaling.workflows }}
{{- range $shard := until (int (default 1 $workflow.shards)) }}
{{- range $kind := list "start" "control" }}
{{ $workflow.definition | replace "-" "_" }}_{{ $shard }}_{{ $kind }} {{ $.Values.namespace }}_tasks_{{ $shard }} {{ $workflow.definition }}_{{ $kind }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
