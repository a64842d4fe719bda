SELECT incarnation, segment, byte FROM offsets;
