"""Virtio: the device's status and features, and split virtqueues."""
