"""etcd's messages and stubs, generated from `proto/etcd/`; stands in for `etcd3.etcdrpc`."""

from secondary.etcdrpc.kv_pb2 import *
from secondary.etcdrpc.rpc_pb2 import *
from secondary.etcdrpc.rpc_pb2_grpc import *
