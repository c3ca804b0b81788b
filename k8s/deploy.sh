#!/usr/bin/env bash
# Deploys an overlay to the cluster that kubectl points at, and puts back what was there if it does not come up:
#
#   k8s/deploy.sh production
#
# In this order: nothing made up is left and every secret is there; settings and policies; the migrations, to their end;
# then the rollout, in which a new replica serves before an old one goes. Until the rollout nothing that runs has changed.
set -euo pipefail
cd "$(dirname "$0")"

overlay=${1:-}
[[ -n $overlay && -f overlays/$overlay/kustomization.yaml ]] || {
  echo "Which overlay? One of: $(ls overlays | xargs)." >&2
  exit 2
}
namespace=evening-popcorn
component=app.kubernetes.io/component
patience=${PATIENCE:-600}

k() { kubectl --namespace "$namespace" "$@"; }
say() { printf '\n== %s\n' "$*"; }
stop() { printf '%s\n' "$*" >&2; exit 1; }

release=$(mktemp)
trap 'rm -f "$release" "$release.before"' EXIT
kubectl kustomize "overlays/$overlay" > "$release"

say "What is made up"
made_up='sha256:0{64}|example\.com|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.'
if grep -nE "$made_up" "$release" >&2; then
  stop "overlays/$overlay still has what was made up for documentation (above). Nothing was changed."
fi
echo "nothing"

say "Secrets"
missing=()
while read -r secret; do
  k get secret "$secret" --output name > /dev/null 2>&1 || missing+=("$secret")
done < <(awk '/secretKeyRef:/ { key = 1 } key && $1 == "name:" { print $2; key = 0 } $1 == "secretName:" { print $2 }' \
  "$release" | sort -u)
[[ ${#missing[@]} -eq 0 ]] ||
  stop "Secrets that the release needs and the cluster does not have: ${missing[*]}. Nothing was changed."
echo "all there"

say "Settings, policies, stores"
kubectl apply --filename "$release" --selector "$component notin (edge,service,migration)"

say "Migrations"
k delete job --selector "$component=migration" --ignore-not-found
kubectl apply --filename "$release" --selector "$component=migration"
k wait job --selector "$component=migration" --for=condition=complete --timeout="${patience}s" || {
  k logs --selector "$component=migration" --tail=50 --prefix >&2 || true
  stop "A migration did not end well. What runs is what ran before."
}

say "Rollout"
# name=revision of what runs now, to go back to.
k get deployment --output \
  'jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.deployment\.kubernetes\.io/revision}{"\n"}{end}' \
  > "$release.before"
kubectl apply --filename "$release" --selector "$component in (edge,service)"

failed=()
for deployment in movie-svc backlog-svc gateway game-svc edge; do
  k rollout status "deployment/$deployment" --timeout="${patience}s" || failed+=("$deployment")
done
[[ ${#failed[@]} -eq 0 ]] || {
  k get pods >&2 || true
  while IFS='=' read -r deployment before; do
    now=$(k get deployment "$deployment" --output 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}')
    [[ $now == "$before" ]] || k rollout undo "deployment/$deployment" --to-revision="$before"
  done < "$release.before"
  stop "Did not come up: ${failed[*]}. What ran before is put back; the schemas stay, as old replicas run on new ones."
}

say "Deployed"
