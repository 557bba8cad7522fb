"""From a source to a data set: shard by shard, on one machine or many; the result depends on the configuration only."""
