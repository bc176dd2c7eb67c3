"""Which arguments make the same client."""

from __future__ import annotations

import gc

import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime.integrations.boto.keys import config_key, options_key


def test_configs_that_say_the_same_are_the_same() -> None:
    def made() -> Config:
        return Config(retries={"mode": "standard"}, s3={"addressing_style": "path"})

    assert config_key(made()) == config_key(made())
    assert config_key(None) is None


@pytest.mark.parametrize(
    "other",
    [
        Config(),
        Config(read_timeout=5),
        Config(retries={"mode": "legacy"}),
        Config(retries={"mode": "standard", "max_attempts": 2}),
        Config(proxies={"http": "http://127.0.0.1:1"}),
    ],
)
def test_configs_that_differ_differ(other: Config) -> None:
    assert config_key(Config(retries={"mode": "standard"})) != config_key(other)


def test_what_was_said_matters_even_if_it_is_the_default() -> None:
    """What is said explicitly wins over the environment, what is not does not."""
    assert config_key(Config(read_timeout=60)) != config_key(Config())


def test_a_config_is_not_kept() -> None:
    from lmi_runtime.integrations.boto import keys

    config = Config()
    config_key(config)
    before = len(keys._known())
    del config
    gc.collect()

    assert len(keys._known()) < before


def test_options_are_told_apart_by_name_and_value() -> None:
    assert options_key({"a": 1, "b": 2}) == options_key({"b": 2, "a": 1})
    assert options_key({"a": 1}) != options_key({"a": 2})
    with pytest.raises(TypeError):
        options_key({"a": {1, 2}})
