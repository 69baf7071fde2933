"""What the harmonizer changed in the last frame, carried along with what moves and blended with the new change."""
