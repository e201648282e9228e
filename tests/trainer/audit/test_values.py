"""What the audit knows about a value, and values made from it."""

from trainer.audit.facts.values import Value, changed


def test_a_changed_value_keeps_every_field_that_is_not_changed():
    fields = {name: object() for name in Value.__slots__}
    value = Value(**fields)
    assert {name: getattr(changed(value), name) for name in fields} == fields
    assert changed(value, env=frozenset("A")).env == frozenset("A")
