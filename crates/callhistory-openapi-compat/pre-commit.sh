#!/usr/bin/env bash
# Compares the OpenAPI documents of a commit with those of the last one; needs Rust.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec cargo run --locked --quiet --manifest-path "$source/Cargo.toml" -- --against HEAD "$@"
