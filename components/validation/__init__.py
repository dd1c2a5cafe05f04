"""Data validation: the validators' names, the anomalies that they record, checks of images."""
