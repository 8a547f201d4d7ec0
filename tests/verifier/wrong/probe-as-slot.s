# The nop of a probe right behind a call.
	.include "frame.inc"
	.include "probe.inc"
	begin	traced
	bl	leaf
	probe	done
	bl	leaf
	end	traced
