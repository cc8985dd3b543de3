"""The demo on a pretrained model: SmolLM2-135M-Instruct, and people who like plain answers."""
