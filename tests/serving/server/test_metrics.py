"""The page of metrics."""

from prometheus_client.parser import text_string_to_metric_families

from serving.server.metrics import GRPC, Metrics


def test_names_with_special_characters_are_escaped() -> None:
    name = 'a "quoted"\nname\\'
    metrics = Metrics()
    metrics.record(name, "Predict", GRPC, "OK", 0.001)
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["model_name"] for sample in samples} == {name}
    (count,) = (sample for sample in samples if sample.name.endswith(":request_count_total"))
    assert count.value == 1
