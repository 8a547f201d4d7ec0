"""What people look at: listings, reports, a page, an archive for a fault's report."""
