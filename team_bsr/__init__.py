"""PFDNLite as team BSR trains it: blocks, exact fusing, pruning, the four-step recipe, the loop and the export."""
