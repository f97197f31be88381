#!/usr/bin/env bash
# What a change of policies must pass, and what it does: from the top of the repository, ci/policies.sh BASE OUT
#
# Checks and tests the policies, renders every environment as it was at the commit BASE and as it is now, and writes what the
# change does to recorded traffic to OUT/comment.md. Status 1 where something is wrong or passes a limit below.
set -euo pipefail
base=$1 out=$2
muxel=${MUXEL:-muxel}                      # e.g. docker run --rm -v $PWD:/w -w /w registry.example.com/muxel:0.1.0
kustomize=${KUSTOMIZE:-kubectl kustomize}  # the kustomize in kubectl, or `kustomize build`
traffic=${TRAFFIC:-ecommerce}              # a shipped profile; better: requests of your own, MUXEL_RECORD
limits=(--max-cost "${MAX_COST:-20%}" --no-floor-risk --no-new-refusals)

rm -rf "$out" && mkdir -p "$out/old" "$out/new"
$muxel check base/policies
$muxel test base/policies --junit "$out/tests.xml"

git archive "$base" | tar -x -C "$out/old"
status=0
for overlay in overlays/*/; do
    name=$(basename "$overlay")
    $kustomize "$overlay" > "$out/new/$name.yaml"
    $muxel check "$out/new/$name.yaml"
    [[ -d $out/old/$overlay ]] || continue # an environment that is new has nothing to be compared with
    $kustomize "$out/old/$overlay" > "$out/old/$name.yaml"
    printf '## %s\n\n' "$name" >> "$out/comment.md"
    $muxel diff "$out/old/$name.yaml" "$out/new/$name.yaml" --traffic "$traffic" --markdown "${limits[@]}" \
        >> "$out/comment.md" || status=1
    printf '\n' >> "$out/comment.md"
done
exit $status
