"""Proofs with a branch that is wrong: which of them no test notices."""
