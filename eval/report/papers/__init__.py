"""What goes into papers: figures as wide as a column, tables in the challenge's form, the factsheet and its Table 1."""
