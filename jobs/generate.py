"""Continue a prompt with a language model.

    python jobs/generate.py --model models/lm --prompt "The film was" --num-tokens 60 --temperature 0.7

Reads a model directory and prints the text; the same seed gives the same text.
"""

from launch import launch

if __name__ == "__main__":
    launch("generate")
