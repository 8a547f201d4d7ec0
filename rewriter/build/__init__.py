"""nopfix behind a compiler: the wrapper, the server beside a build, their tools."""
