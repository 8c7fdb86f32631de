"""How we reach hardware."""
