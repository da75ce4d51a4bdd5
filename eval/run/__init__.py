"""Making records: models are opened, tasks carried out here or elsewhere."""
