# &&label + 30, which the compiler folded: the program takes 30 off again.
	.include "frame.inc"
	begin	folded
	bl	leaf
.Llabel:
	bl	leaf
	mr	31, 3
	bl	leaf
	mr	31, 3
	end	folded
	.section .data.rel.ro.local, "aw"
	.quad	.Llabel+30
