"""The providers of parameters that powertools makes when they are first needed."""

from __future__ import annotations

import functools
import sys
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.parameters import blocks

__all__ = ["share_app_config_provider", "share_default_providers"]

_PACKAGE: Final = "aws_lambda_powertools.utilities.parameters"
_MADE_BY: Final = {"ssm": ("ssm", "SSMProvider"), "secrets": ("secrets", "SecretsProvider")}


class _Providers(dict[str, Any]):
    """
    Powertools' default providers, of which there is one each, for as long as anybody asks.

    Its functions ask whether a provider is there and then for it, by two steps between which
    another thread may have removed it: they are given what they were told to be there.

    Thread safety: from any thread.
    """

    def __init__(self, providers: dict[str, Any]) -> None:
        super().__init__(providers)
        self._lock = _sync.RLock()
        self._told: ContextVar[dict[str, Any]] = ContextVar("lmi_default_providers")

    def __contains__(self, name: object) -> bool:
        found = self.get(name)  # type: ignore[call-overload]
        if found is None:
            blocks()
            found = self._made(name)
        if found is not None:
            self._told.set({str(name): found})
        return found is not None

    def __setitem__(self, name: str, provider: Any) -> None:
        self._told.set({name: provider})
        super().__setitem__(name, provider)

    def __missing__(self, name: str) -> Any:
        return self._told.get({})[name]

    def _made(self, name: object) -> Any:
        """A new one, if how to make it is known."""
        room, kind = _MADE_BY.get(str(name), ("", ""))
        module = sys.modules.get(f"{_PACKAGE}.{room}")
        if module is None:
            return None
        with self._lock:
            found = self.get(str(name))
            if found is None:
                found = getattr(module, kind)()
                super().__setitem__(str(name), found)
            return found


def share_default_providers(module: ModuleType, swaps: Swaps) -> None:
    """One default provider for all threads that need the first."""
    original = swaps.attribute(module, "DEFAULT_PROVIDERS")
    providers = _Providers(original)
    for name, each in list(sys.modules.items()):
        if name.startswith(_PACKAGE) and getattr(each, "DEFAULT_PROVIDERS", None) is original:
            swaps.put(each, "DEFAULT_PROVIDERS", providers)


def share_app_config_provider(module: ModuleType, swaps: Swaps) -> None:
    """The same for AppConfig's, which is made of what the first call asks for."""
    original = swaps.function(
        module, "get_app_config", "name, environment, application, **sdk_options"
    )
    swaps.attribute(module, "AppConfigProvider")
    swaps.attribute(module, "DEFAULT_PROVIDERS")
    lock = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)

    @functools.wraps(original)
    def get_app_config(
        name: str, environment: str, application: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        providers = module.DEFAULT_PROVIDERS
        if "appconfig" not in providers:
            with lock():
                if "appconfig" not in providers:
                    providers["appconfig"] = module.AppConfigProvider(
                        environment=environment, application=application
                    )
        return original(name, environment, application, *args, **kwargs)

    swaps.put(module, "get_app_config", get_app_config)
    package = sys.modules.get(_PACKAGE)
    if getattr(package, "get_app_config", None) is original:
        swaps.put(package, "get_app_config", get_app_config)
