"""Regression runs of nopfix over what compilers' own testers thought of."""
