"""The write queue of kvcore on RabbitMQ quorum queues."""
