# Rows of a line program that the compiler writes itself (GCC 16 -gno-as-loc-support): the
# discriminator lies between the advance of the address and the row.
	.abiversion 2
	.text
.Lstart:
	.type	leaf, @function
leaf:	blr
	.size	leaf, .-leaf
	.globl	rows
	.type	rows, @function
rows:	mflr	0
	bl	leaf
.Lrow:	bl	leaf
	mtlr	0
	blr
	.size	rows, .-rows
.Lstop:
	.section .debug_line, "", @progbits
	.4byte	2f-1f
1:	.2byte	3
	.4byte	4f-3f
3:	.byte	1, 1, 246, 242, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1
	.byte	0
	.asciz	"rows.c"
	.byte	0, 0, 0, 0
4:	.byte	0, 9, 2
	.8byte	.Lstart
	.byte	3, 4, 1
	.byte	2
	.uleb128 .Lrow-.Lstart
	.byte	0, 2, 4, 3
	.byte	3, 1, 1
	.byte	2
	.uleb128 .Lstop-.Lrow
	.byte	0, 1, 1
2:
