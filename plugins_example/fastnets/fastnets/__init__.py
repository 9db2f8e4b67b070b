"""Components for clscli: backbone, loss, transform, hook."""
