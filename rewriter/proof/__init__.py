"""Where branches lead, and what in code is data: shown, not guessed."""
