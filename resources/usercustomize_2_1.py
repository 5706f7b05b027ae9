"""Start-up hook of the OpenSVC agent 2.1: `[hb#0] type = OpenHA` as `[app#hb] type = openha`.

Only `om` puts this directory on the path of its Python. The hook wraps one function of the agent
when the agent loads it; if that function has changed, the hook does nothing, and the section is
ignored as without it.
"""

import os
import sys


class _Finder(object):
    """Import hook that waits for the agent's builder."""

    def find_spec(self, name, path=None, target=None):
        if name != "core.objects.builder":
            return None
        sys.meta_path.remove(self)
        import importlib.util

        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                _wrap(module)

            spec.loader.exec_module = exec_module
        return spec


def _wrap(builder):
    """Add the sections [hb#N] after all others."""
    add_resources = getattr(builder, "add_resources", None)
    add_resource = getattr(builder, "add_resource", None)
    if add_resources is None or add_resource is None:
        return

    try:
        import site_opensvc.drivers.resource.hb.openha  # noqa: F401 - Makes the keywords of the section known.
        broken = ""
    except Exception as error:
        broken = ("the driver of [hb#N] type = OpenHA cannot be loaded (%s): "
                  "run `openha agent install --hb-section`" % error)

    def with_hb(svc):
        errors = add_resources(svc)
        sections = sorted(name for name in svc.cd if name.split("#")[0] == "hb")
        if broken and [name for name in sections
                       if str(svc.cd[name].get("type", "")).lower() == "openha"]:
            _refuse_start(svc, broken)
            return errors + 1
        for section in [] if broken else sections:
            try:
                add_resource(svc, "hb", section)
            except Exception as error:  # The agent must continue without it.
                svc.log.error("%s: %s", section, error)
                errors += 1
        _guard_stop(svc)
        return errors

    builder.add_resources = with_hb


def _refuse_start(svc, reason):
    """Refuse every start: without the cluster's consent, a manual start could be the second one."""
    import core.exceptions as ex

    def refused():
        raise ex.Error(reason)

    svc.log.error(reason)
    if os.environ.get("OPENHA_ACTION") != "start":
        svc.start = refused


def _guard_stop(svc):
    """Give the resource its veto: the agent stops no resource of this group."""
    stop = svc.stop

    def guarded():
        for resource in svc.get_resources("hb"):
            resource.stop()
        return stop()

    if svc.get_resources("hb"):
        svc.stop = guarded


if sys.version_info[0] > 2:
    sys.meta_path.insert(0, _Finder())
