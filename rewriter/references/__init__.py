"""Who points to code from elsewhere: moved along with it, or refused."""
