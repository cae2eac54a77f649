"""What a prepared host is, and the seeds that give a machine its identity."""
