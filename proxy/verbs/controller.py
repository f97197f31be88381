"""The verb that compiles policies in a cluster: controller. Called by ``cli``; it runs until it is told to stop."""

import argparse
import os
from dataclasses import replace

from proxy import logs
from proxy.controller.settings import ENVIRONMENT, ControllerSettings
from proxy.settings import SettingsError, read_environment, words
from proxy.verbs.output import PROBLEM, USAGE, fail
from proxy.verbs.server import spelling, until_stopped


def controller(arguments: argparse.Namespace) -> int:
    """Runs the controller; 1 where an address cannot be had, 2 where a setting or the cluster cannot be used."""
    try:
        settings = _settings(arguments)
        logs.install(settings.log_level)
        from proxy.controller.run import control

        return until_stopped(control(settings, os.environ), settings.loop)
    except SettingsError as error:
        name = "controller" if error.name == "watch" else spelling(error.name, arguments, ENVIRONMENT)
        return fail(f"{name} {error.complaint}", USAGE)
    except OSError as error:
        return fail(f"{error.filename or 'cannot serve'}: {error.strerror or error}", PROBLEM)


def _settings(arguments: argparse.Namespace) -> ControllerSettings:
    """The environment, with flags over it. Raises SettingsError."""
    flags = {
        name: getattr(arguments, name)
        for name in (
            "name",
            "namespace",
            "admin_listen",
            "webhook_listen",
            "tls_cert",
            "tls_key",
            "log_level",
            "webhook_configuration",
            "webhook_host",
        )
    }
    flags["namespaces"] = words(arguments.namespaces) if arguments.namespaces else None
    given = {name: value for name, value in flags.items() if value is not None}
    return replace(read_environment(ControllerSettings, os.environ), **given)
