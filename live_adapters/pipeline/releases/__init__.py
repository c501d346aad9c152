"""What the pricing service runs: releases, which keys go to which, their work and their account."""
