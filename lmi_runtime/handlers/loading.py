"""Find the handler that a name such as ``app.handler`` means, by awslambdaric's rules."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lmi_runtime.errors import (
    BuiltInModuleConflict,
    HandlerImportError,
    HandlerModuleRaised,
    HandlerNameMalformed,
    HandlerNotFound,
    HandlerSyntaxError,
)
from lmi_runtime.handlers.faults import error_type_of, text_of
from lmi_runtime.handlers.spec import HandlerSpec, describe, spec_of

__all__ = ["Target", "load"]


@dataclass(frozen=True, slots=True)
class Target:
    """
    A handler that was found.

    Attributes:
        name: What it was asked for by, such as ``app.handler``.
        handler: The attribute as it stands in its module.
        spec: How to run it.
    """

    name: str
    handler: Callable[..., Any]
    spec: HandlerSpec


def load(name: str, task_root: str) -> Target:
    """
    Import the handler `name` with `task_root` first on the import path.

    Args:
        name: ``package.module.function`` or ``package/module.function``.
        task_root: Directory the function's code is in.

    Raises:
        HandlerNameMalformed: There is no dot in it.
        BuiltInModuleConflict: Its module has the name of one that is built into Python.
        HandlerImportError: The module, or something it imports, is not there.
        HandlerSyntaxError: The module does not compile.
        HandlerModuleRaised: The module raised while it was imported.
        HandlerNotFound: The module has no such attribute, or it cannot be called.
        HandlerSignatureError: It does not take ``(event, context)`` or ``(event)``.
        ConfigurationError: Another decorator hides what ``@handler`` made.

    Thread safety: changes `sys.path`; call once, before anything is served.
    """
    module_name, attribute = _split(name)
    if task_root and sys.path[:1] != [task_root]:
        sys.path.insert(0, task_root)
    module = _import(module_name, task_root)
    handler = _attribute(module, module_name, attribute)
    return Target(name, handler, spec_of(handler) or describe(handler))


def _split(name: str) -> tuple[str, str]:
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise HandlerNameMalformed(
            f"Bad handler '{name}': not enough values to unpack (expected 2, got 1). "
            "Write module.function, such as app.handler."
        )
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise BuiltInModuleConflict(
            f"Cannot use built-in module {module_name} as a handler module. Rename the file."
        )
    return module_name, attribute


def _import(module_name: str, task_root: str) -> ModuleType:
    dotted = module_name.replace("/", ".")
    try:
        return importlib.import_module(dotted)
    except ImportError as exc:
        advice = _import_advice(exc, dotted, task_root)
        raise HandlerImportError(
            f"Unable to import module '{module_name}': {exc}. {advice}"
        ) from exc
    except SyntaxError as exc:
        raise HandlerSyntaxError(f"Syntax error in module '{module_name}': {exc}") from exc
    except KeyboardInterrupt:
        raise  # somebody at the keyboard, not the module
    except BaseException as exc:
        raise HandlerModuleRaised(
            f"Module '{module_name}' raised {type(exc).__name__} while it was imported: "
            f"{text_of(exc)}. {_raise_advice(exc)}",
            error_type=error_type_of(type(exc).__name__),
        ) from exc


def _import_advice(exc: ImportError, dotted: str, task_root: str) -> str:
    if exc.name is not None and (dotted == exc.name or dotted.startswith(exc.name + ".")):
        return f"No such module was found in {task_root or 'the current directory'}."
    if isinstance(exc, ModuleNotFoundError):
        return "Install it beside the function's code."
    return "Check the versions installed beside the function's code."


def _raise_advice(exc: BaseException) -> str:
    if isinstance(exc, SystemExit):
        return "A handler's module must not exit; put that under `if __name__ == '__main__':`."
    return "Its stack is that of the module's own code."


def _attribute(module: ModuleType, module_name: str, attribute: str) -> Callable[..., Any]:
    missing = object()
    found = getattr(module, attribute, missing)
    if found is missing:
        raise HandlerNotFound(
            f"Handler '{attribute}' missing on module '{module_name}'.{_hint(module, attribute)}"
        )
    if not callable(found):
        raise HandlerNotFound(
            f"Handler '{attribute}' on module '{module_name}' is of type {type(found).__name__}, "
            "which cannot be called."
        )
    return found


def _hint(module: ModuleType, attribute: str) -> str:
    callables = [
        name for name, value in vars(module).items() if callable(value) and not name.startswith("_")
    ]
    near = difflib.get_close_matches(attribute, callables, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
