#!/usr/bin/env bash
# Writes the report as a comment on the pull request, or replaces the comment of an earlier run.
# A token that may not comment, as in a pull request of a fork, gets a warning: the verdict is that of the tests.
set -euo pipefail

mark='<!-- pytest-vllmperf report -->'
comments="repos/$GITHUB_REPOSITORY/issues/$VLLMPERF_ACTION_NUMBER/comments"
# Jobs of one pull request, as those of a matrix, must not replace each other's comments: a green one could hide a red one.
job=$(printf '%s' "${GITHUB_WORKFLOW:-}/${GITHUB_JOB:-}/$VLLMPERF_ACTION_ARTIFACT" | tr -c 'A-Za-z0-9._/' '_')
key="<!-- vllmperf job $job -->"
own=".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$mark\") and (rtrimstr(\"\\n\") | endswith(\"$key\")))) | .id"

# Which commit it is of: a comment may be older than what the pull request shows.
body=$(mktemp)
trap 'rm -f "$body"' EXIT
cat "$VLLMPERF_ACTION_REPORT" > "$body"
printf '\nCommit %s\n\n%s\n' "$VLLMPERF_ACTION_COMMIT" "$key" >> "$body"

write() {
    local ids
    ids=$(gh api --paginate "$comments" --jq "$own") || return 1
    if [ -n "$ids" ]; then
        gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/${ids%%$'\n'*}" \
            --field "body=@$body" --silent
    else
        gh api --method POST "$comments" --field "body=@$body" --silent
    fi
}

if ! write; then
    echo '::warning title=vllmperf::The report could not be written as a comment. Does the job have the permission' \
        'pull-requests: write? The token of a pull request of a fork never has it.'
fi
