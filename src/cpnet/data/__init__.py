"""The data layer: annotation files become moments, feature packs become clips, and both become batches."""
