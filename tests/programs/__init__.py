"""Programs linked with Debian's own static libraries, before and after a rewrite."""
