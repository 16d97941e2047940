"""Reads the folder of TensorBoard's files that its first argument names, with TensorBoard's own reader, and prints JSON."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
scalars = {
    tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags["scalars"]
}
texts = {}
for tag in tags["tensors"]:
    plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
    proto = events.Tensors(tag)[-1].tensor_proto
    shape = [dim.size for dim in proto.tensor_shape.dim]
    texts[tag] = [plugin, shape, proto.string_val[0].decode()]
print(json.dumps({"scalars": scalars, "texts": texts}))
