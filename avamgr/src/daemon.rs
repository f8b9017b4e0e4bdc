//! THE LOOP: wait, handle one input, drain actions, set the next deadline.
