"""The page: records → one folder of HTML that works from disk, with tables, plots and pictures."""
