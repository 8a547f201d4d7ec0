# A feature section of the kernel that holds one nop, in front of an aligned loop.
	.include "frame.inc"
	begin	spins
	li	31, 9
	bl	leaf
	mr	4, 3
	bl	leaf
	mr	6, 3
.Lfirst:
	nop
.Lbehind:
	.pushsection __ftr_alt_1, "ax"
.Lother:
	isync
.Lend:	.popsection
	.pushsection __ftr_fixup, "a"
	.p2align 3
.Lentry:
	.8byte	4, 4, .Lfirst-.Lentry, .Lbehind-.Lentry, .Lother-.Lentry, .Lend-.Lentry
	.popsection
	.p2align 4
.Lturn:	addic.	31, 31, -1
	bne	.Lturn
	end	spins
