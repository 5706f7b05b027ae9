"""The agents' parent of all hb drivers: makes the two scripts links to svcmgr, and asks for a private method."""

import rcExceptions as ex
import rcStatus
import resources


class Hb(resources.Resource):
    """Asks for its own private method, so only a class of the same name can give another one."""

    def cluster_files(self):
        """Makes links."""
        raise AssertionError("the driver makes the wrappers itself")

    def shutdown(self):
        """Nothing an operator may do."""
        raise getattr(ex, "excEndAction", ex.excError)("shutdown action is not allowed on heartbeat-driven services")

    def __status(self, verbose=False):
        return rcStatus.UNDEF

    def _status(self, verbose=False):
        self.cluster_files()
        return self.__status(verbose)
