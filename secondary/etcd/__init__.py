"""The one way to etcd; nothing outside this package knows its messages or its client.

Its values and errors, which anybody may use, are in `secondary.etcd_values`.
"""

from secondary.etcd.store import EtcdStore
from secondary.etcd.watch import Watch

__all__ = ["EtcdStore", "Watch"]
