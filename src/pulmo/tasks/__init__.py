"""The LightningModules: what is learnt, by which loss, and how it is measured."""
