"""The network by message passing over DGL graphs: slow, and independent of our dense attention."""

import dgl
import dgl.function as fn
import torch
from dgl.nn.functional import edge_softmax
from torch import Tensor

from periogt_ray.model.network import PerioGTEncoder, TransformerLayer


def encode(encoder: PerioGTEncoder, graph: dgl.DGLGraph, states: Tensor) -> Tensor:
    """Return the final states [T, D] of one graph from its first states."""
    light = encoder.model
    paths = graph.edata["path"]
    is_used = paths >= 0
    distance = light.path_len_emb(is_used.sum(dim=1))
    distance[graph.edata["vp"]] = light.virtual_path_emb.weight[0]
    distance[graph.edata["sl"]] = light.self_loop_emb.weight[0]
    path = torch.zeros(len(paths), encoder.sizes.path_width)
    for slot, network in enumerate(light.trip_fortrans):
        used = is_used[:, slot]
        path[used] += network(states[paths[used, slot]])
    path = path / is_used.sum(dim=1, keepdim=True)
    bias = light.dist_attn_layer(distance) + light.path_attn_layer(path)
    for layer in light.mol_T_layers:
        states = _layer(layer, graph, states, bias)
    return states


def _layer(layer: TransformerLayer, graph: dgl.DGLGraph, states: Tensor, bias: Tensor) -> Tensor:
    width = states.shape[1]
    with graph.local_scope():
        qkv = layer.qkv(layer.attention_norm(states)).view(len(states), 3, layer.n_heads, -1)
        graph.srcdata.update({"q": qkv[:, 0] * width**-0.5, "v": qkv[:, 2]})
        graph.dstdata.update({"k": qkv[:, 1]})
        graph.apply_edges(fn.u_dot_v("q", "k", "score"))
        graph.edata["weight"] = edge_softmax(graph, graph.edata["score"] + bias.unsqueeze(-1))
        graph.update_all(fn.u_mul_e("v", "weight", "message"), fn.sum("message", "gathered"))
        return layer.node_out_layer(states, graph.dstdata["gathered"].reshape(len(states), width))
