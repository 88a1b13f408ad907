# Part of run.sh: the chart, what is rendered from it, and the example of a whole system.
values=(deploy/kubernetes/*.values.yaml)
schema=deploy/helm/mcp-agent/values.schema.json

check "values.schema.json is a schema" "$tools/check-jsonschema" --check-metaschema "$schema"
check "the values of the rendered agents fit it" "$tools/check-jsonschema" --schemafile "$schema" "${values[@]}"
for wrong in "$here"/wrong-values/*.yaml; do
    check "it refuses ${wrong##*/}" refuses "$tools/check-jsonschema" --schemafile "$schema" "$wrong"
done
for file in "${values[@]}"; do
    name=$(basename "$file" .values.yaml)
    rendered=deploy/kubernetes/$name.yaml
    check "$rendered is of this chart and these values" "$here/render.sh" --verify "$name"
    for version in 1.29 1.33 1.37; do
        check "$rendered against Kubernetes $version" \
            "$tools/kubernetes-validate" --strict --quiet --no-warn -k "$version" "$rendered"
    done
    check "$rendered: kinds of KEDA and Prometheus, drain, lanes" \
        "$tools/python" "$here/manifests.py" "$rendered" "$here/schemas"
done
if helm=$("$here/render.sh" --helm); then
    check "helm lint" "$helm" lint --quiet deploy/helm/mcp-agent --values "${values[0]}"
    for file in "${values[@]}"; do
        check "helm renders $(basename "$file" .values.yaml) as it stands there" "$here/render.sh" --compare "$(basename "$file" .values.yaml)"
    done
    check "the whole studio is rendered (without the NATS chart, which is not here)" "$here/render.sh" --studio "$work/studio.yaml"
    if [[ -s $work/studio.yaml ]]; then
        check "studio against Kubernetes 1.33" "$tools/kubernetes-validate" --strict --quiet --no-warn -k 1.33 "$work/studio.yaml"
        check "studio: kinds of KEDA, drain, lanes" "$tools/python" "$here/manifests.py" "$work/studio.yaml" "$here/schemas"
    fi
else
    skip "rendering: there is no helm (HELM, PATH, .tools/bin; \`make helm\` builds one with Go)"
fi
