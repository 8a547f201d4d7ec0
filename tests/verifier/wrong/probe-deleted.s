# The nop of a probe in front of an aligned loop.
	.include "frame.inc"
	.include "probe.inc"
	begin	counts
	li	31, 9
	bl	leaf
	mr	4, 3
	mr	5, 3
	mr	6, 3
	probe	turn
	.p2align 4
.Lturn:	addic.	31, 31, -1
	bne	.Lturn
	bl	leaf
	end	counts
