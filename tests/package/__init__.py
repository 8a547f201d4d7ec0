"""``make package``: what is handed out, built and tried where nothing else is."""
